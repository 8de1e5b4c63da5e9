"""Pages in a browser, for a person who works with images and networks; needs the extra `app`."""
