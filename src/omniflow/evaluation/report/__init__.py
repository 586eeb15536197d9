"""report.html: a comparison, or one run, as a page that needs nothing but itself."""
