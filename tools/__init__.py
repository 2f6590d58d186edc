"""Scripts that make the data shipped with the package; nothing in the package imports them."""
