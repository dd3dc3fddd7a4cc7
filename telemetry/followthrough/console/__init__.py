"""The built-in trace store and its pages, for where no Jaeger runs."""
