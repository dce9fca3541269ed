"""`bgexp review`: a page on which people compare results blindly, and their votes read back."""

from bgexp.review.command import log_review, make_review
from bgexp.review.told import show_made, show_votes

__all__ = ["log_review", "make_review", "show_made", "show_votes"]
