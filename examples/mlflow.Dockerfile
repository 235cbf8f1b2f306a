# MLflow's server with the drivers for PostgreSQL and for an object store; compose.yaml builds it.
FROM python:3.11-slim-bookworm
RUN pip install --no-cache-dir "mlflow>=3.10,<4" "psycopg2-binary>=2.9,<3" "boto3>=1.34,<2"
ENV MLFLOW_DISABLE_TELEMETRY=true
USER 1000:1000
ENTRYPOINT ["mlflow"]
