"""Public checkpoints become models on this machine.

`manifest` says what there is and from which `sources`; `download` fetches a file, with `web` for one request
and `partfile` for what is on the disk; `convert` makes safetensors of it; `install` does all of this for a
model; `cli` holds the commands.
"""
