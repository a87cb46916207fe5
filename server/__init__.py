"""One Spark for many SQL clients: Thrift/JDBC and Spark Connect on the project's tables."""
