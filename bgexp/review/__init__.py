"""`bgexp review`: a page on which people compare results blindly, and their votes read back."""
