"""The local web page: choose a face, move one slider per motion with a live preview, download a video.

`faces` detects and crops faces, `studio` encodes, previews and renders, `sessions` holds each visitor's data,
`markup` builds HTML, `columns` and `app` define the layout, `handlers` answers events, `middleware` and
`server` serve it. Only `app`, `columns`, `handlers` and `server` import Gradio, an optional extra; importing
this package imports nothing.
"""
