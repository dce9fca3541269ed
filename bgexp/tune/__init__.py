"""`bgexp tune`: the fastest settings of this machine whose masks are as good as fp32's."""

from bgexp.tune.command import show_tuning, tune

__all__ = ["show_tuning", "tune"]
