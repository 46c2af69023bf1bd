"""What a run leaves behind: its folder, a journal of everything measured, and the delivery of that journal to MLflow.

Training writes to the journal only. A process beside it, the sidecar, delivers the journal, so that no server can slow
or stop training. Only ``logger`` imports Lightning, and only ``mlflow_delivery`` imports MLflow, when it delivers.
"""
