"""XML with one signature over all of it: makers' manifests are published so."""
