"""Generated from protos/tunesmith/v1 by tools/generate_protos.py; do not edit."""
