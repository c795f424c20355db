"""Reading a driving video and playing it, measured on rendered heads whose true motion is known."""
