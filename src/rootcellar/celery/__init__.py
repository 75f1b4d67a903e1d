"""All that knows Celery: the backend, the capture of every state, chords, waiting for results."""
