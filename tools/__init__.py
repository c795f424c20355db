"""Scripts that write files of the repository: the documents' pictures, measured tables, openapi.json."""
