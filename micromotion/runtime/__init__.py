"""The process, its devices and their memory, its folders and caches."""
