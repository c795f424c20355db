"""The local page: a face, a slider for each motion with a picture that follows it, a film to take away.

`faces` finds and cuts out, `studio` encodes, previews and renders, `visits` keeps what each visitor brought,
`markup` draws, `app` lays out, `doors` and `server` put it on the network. Only `app` and `server` import
Gradio, which is an optional extra; importing this package imports nothing.
"""
