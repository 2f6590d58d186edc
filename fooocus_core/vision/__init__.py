"""Networks that look at pictures or work on their pixels, one file each."""
