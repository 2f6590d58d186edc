"""Everything that feeds or changes the UNet, one feature per file. Knows no samplers."""
