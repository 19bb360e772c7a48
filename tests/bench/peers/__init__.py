"""Services that the API is compared with; the same server runs them with the same options."""
