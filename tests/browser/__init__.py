"""Tests of the console's pages in a real browser, against the real server with a site that is made up."""
