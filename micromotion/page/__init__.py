"""The local page: a face, a slider for each motion with a picture that follows it, a film to take away.

`faces` finds and cuts out, `studio` encodes, previews and renders, `visits` keeps what each visitor brought,
`markup` draws, `columns` and `app` lay out, `desk` answers, `doors` and `server` put it on the network.
Only `app`, `columns`, `desk` and `server` import Gradio, an optional extra; importing this package imports
nothing.
"""
