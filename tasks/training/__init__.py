"""Training a network on labelled images: what is trained, on what, how it is kept and resumed."""
