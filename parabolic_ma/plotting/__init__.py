"""Pictures of results (extra ``plot``); the only place that imports matplotlib."""
