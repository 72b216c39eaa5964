"""The rules of lint, a file a theme. A rule is a function with `@rule` over it; a file ends in the tuple of its rules:
`RULES`."""
