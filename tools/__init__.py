"""What writes files of the repository: pictures of the documents, measured tables, openapi.json."""
