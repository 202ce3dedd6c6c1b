"""dpin: a peer-to-peer network for GPU compute."""
