"""Content credentials: what a written file says of itself, signed, and how to read it back.

`claim` is what is said, `manifest` and `xmp` how it is written down, `certificates` who signs it, `signing`
puts it into a file, `verify` reads it. c2pa and cryptography are imported only when something is signed or
read.
"""
