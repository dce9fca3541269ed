"""`bgexp select`: which images to label, with masks to edit."""

from bgexp.select.command import select_images, show_selection

__all__ = ["select_images", "show_selection"]
