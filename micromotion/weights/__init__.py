"""Downloads public checkpoints and converts them to models.

`manifest` lists the files and their `sources`; `download` fetches a file, with `web` for one HTTP request and
`partfile` for the partial file on disk; `convert` writes safetensors; `install` does all of this for a model;
`cli` holds the commands.
"""
