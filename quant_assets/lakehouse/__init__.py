"""Bytes on disk: paths, atomic stores, manifests, catalog, snapshots, SQL."""
