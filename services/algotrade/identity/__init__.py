"""Identity: accounts, passwords, and the tokens that the gateway and every service verify."""
