"""What is said of votes: decided or not, and what would decide it."""

import pytest

from bgexp.metrics.win_rate import Vote, compute_self_agreement, compute_win_rate
from bgexp.review.console import describe_self_agreement, describe_win_rate, show_votes
from bgexp.tracking.votes import Review


def make_votes(wins, losses=0, ties=0, both_bad=0, over="b"):
    choices = ["left"] * wins + ["right"] * losses + ["tie"] * ties + ["both_bad"] * both_bad
    return [Vote(image=f"{n}", left="a", right=over, choice=c) for n, c in enumerate(choices)]


@pytest.mark.parametrize(
    ("counts", "ending"),
    [
        ((18, 2), "x preferred to y in 90 % of 20 votes (95 % interval 70 to 97 %; 18 won, "
                  "0 ties, 2 lost): preferred"),
        ((2, 18, 0, 3), "3): not preferred"),
        ((12, 8), "): undecided; about 174 more votes would decide"),
        ((10, 10, 1), "1 tie, 10 lost): undecided, practically even"),
        ((2, 1), "undecided, too few votes"),
        ((0, 0, 0, 2), "x and y: no vote prefers one, both bad 2"),
    ],
)  # fmt: skip
def test_a_win_rate_in_words(counts, ending):
    assert describe_win_rate(compute_win_rate(make_votes(*counts), "a", "b"), "x", "y").endswith(
        ending
    )


def test_a_judge_in_words():
    repeated = make_votes(3)[0].model_copy(update={"repeat": True, "left": "b", "right": "a"})
    description = describe_self_agreement(compute_self_agreement([*make_votes(3), repeated]))
    assert description == "Repeated pairs judged alike: 0 of 1 (95 % interval 0 to 79 %)"
    assert "not known" in describe_self_agreement(compute_self_agreement(make_votes(3)))


def test_of_several_variants_the_best_stands_first(capsys):
    names = {"a": "first", "b": "sec\x1b[2Jond", "c": "third", "d": "unseen"}
    review = Review(review="0" * 32, runs=names, pairs=())
    show_votes(make_votes(2, 12) + make_votes(1, 9, over="c"), review)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "24 votes by 1 judge on these runs"
    order = [line.split()[0] for line in lines if line.startswith("  ") and line.split()[1:]]
    assert order.index("third") < order.index("first") < order.index("unseen")
    assert order.index("sec\\x1b[2Jond") < order.index("first")
    assert sum(" preferred to " in line for line in lines) == 2
