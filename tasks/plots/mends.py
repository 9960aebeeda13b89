"""What a person can do about each rule on the data, in one sentence; a rule of the user's own suite has none."""

from __future__ import annotations

CONFLICT = "one_label_per_content"
REVIEW_TELLS = "Which label is right is decided once for all copies: see Label review below."

MENDS = {
    "decodable": "Replace or delete the files named below, or list a missing format in validate.formats.",
    "min_side": "Replace the small files by larger originals, or lower validate.min_side.",
    "max_side": "Scale the large files down, or raise validate.max_side.",
    "modes": "Save the files as RGB or grey, or list the mode in validate.modes.",
    "one_label_per_content": "Decide which label is right and delete the other copy, or write the decision into "
    "data/corrections.csv.",
    "official_split_disjoint": "Keep each image on one side only: delete its copies from the others.",
    "labels_present": "Move the files into class folders, or fill the table's label column.",
    "labels_known": "Rename the class folders, map them with data.label_aliases, or list them in validate.labels.",
    "classes_listed": "Add images of the missing classes, or take them from validate.labels.",
    "two_classes": "Put the images of each class into a folder of its name, directly below data.path.",
    "items_per_class": "Add images of the small classes, merge them with data.label_aliases, or lower "
    "validate.min_items_per_class.",
    "corrections_match": "Compare data/corrections.csv with the labels as they stand now, and delete the rows that no "
    "longer hold.",
    "aliases_used": "Correct or delete the names in data.label_aliases that no item bears.",
    "frames": "Nothing must be done where the first frame shows what the label says; else save the frame that does.",
    "aspect": "Crop the images to what the label names: of a long strip only the middle is seen.",
    "brightness": "Look whether they show anything; delete what does not. Nothing stops because of them.",
    "sharpness": "Look whether they show anything; delete what does not. Nothing stops because of them.",
    "copies": "Nothing must be done: copies stay on one side of the split. Delete them if they were not meant.",
}

FAULTS = (
    ("empty file", "Empty", "Fetch the files again from where they came, or delete them."),
    (
        "not an image of an allowed format",
        "Not an image of an allowed format",
        "Delete them, convert them, or list their format in validate.formats.",
    ),
    ("bytes, more than", "Larger than any allowed image", "Delete them, or raise validate.max_pixels."),
    ("cannot be read", "Cannot be read", "Make the files readable for the user who runs Graft, or delete them."),
    ("pixels, more than", "More pixels than allowed", "Scale the files down, or raise validate.max_pixels."),
    ("header", "Broken header", "Fetch the files again from where they came, or delete them."),
    ("broken", "Damaged or cut short", "Fetch the files again from where they came, or delete them."),
    ("", "Cannot be decoded", "Replace or delete them."),
)
"""Kinds of undecodable files: what the reason says, the title, the mend; the first that fits."""

TITLES = {
    "min_side": "Too small",
    "max_side": "Too large",
    "modes": "Pixel mode not allowed",
    "one_label_per_content": "One image under two labels",
    "frames": "Several frames or pages",
    "aspect": "Very long or very narrow",
    "brightness": "Very dark or very bright",
    "sharpness": "Blurred or flat",
    "copies": "Exact copies",
}
"""How the page calls what breaks a rule."""
