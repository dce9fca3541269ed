"""The store: how many runs it holds, over all pages."""

from types import SimpleNamespace

from bgexp.tracking import store


def test_runs_are_counted_over_all_pages(monkeypatch):
    def run(number, status):
        return SimpleNamespace(
            info=SimpleNamespace(run_id=str(number), status=status),
            data=SimpleNamespace(tags={"n": str(number)}),
        )

    class Page(list):
        token = None

    def search_runs(_, max_results, page_token):
        assert max_results == 1000
        page = Page([run(1, "FINISHED"), run(2, "RUNNING")] if not page_token else [])
        page.token = None if page_token else "next"
        return page

    client = SimpleNamespace(search_runs=search_runs)
    monkeypatch.setattr(store, "open_store", lambda _: (client, "0"))
    assert store.count_runs(None) == (2, {"2": {"n": "2"}})
