"""Operations on uint8 pictures and masks; none of them needs a model."""
