"""Charts: Vega-Lite specifications drawn to SVG and PNG by a process of their own, and made fit to stand in a page."""
