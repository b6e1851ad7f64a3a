"""An HTTP server for exported models: `medusis serve`."""
