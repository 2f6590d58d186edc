"""One file per step; what was released is never changed."""
