"""HTTP services, a package each: `models.py` what is sent, `service.py` what it means, `routes.py` where."""
