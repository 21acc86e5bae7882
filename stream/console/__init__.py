"""The web console's server: what is there to see, what an operator may do, and who may.

``spade-stream console`` runs it. It reads what other processes write, subscribes to the feed like anybody else, and
starts commands for what takes long; it never scores. No module here loads torch.
"""
