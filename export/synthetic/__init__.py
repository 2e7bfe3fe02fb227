"""Synthetic clothed people for training: photos, masks, true colours and offsets in the atlas (run
`python -m
dinar_live.export.synthetic --help`)."""
