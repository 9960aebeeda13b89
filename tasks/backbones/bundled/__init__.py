"""The weights that come with Graft: shufflenet_v2_x0_5 pretrained on rendered glyphs, and how they were made."""
