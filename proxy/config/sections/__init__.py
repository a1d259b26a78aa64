"""The blocks of the file, one module for each side of Weir; `config.settings` puts them together."""
