"""`bgexp verify`: whether an output is whole, file by file."""
