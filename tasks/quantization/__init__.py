"""An int8 form of a released graph: built in several ways, measured, and chosen (docs/decisions/0037)."""
