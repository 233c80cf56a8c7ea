"""The gateway on the host that every sandbox's LLM traffic goes through: scripted or live."""
