package org.apache.spark.sql.hive.thriftserver.churn

import java.util.{Map => JMap}
import java.util.concurrent.ConcurrentHashMap
import java.util.function.{Function => JFunction}

import org.apache.iceberg.CatalogProperties.URI
import org.apache.iceberg.jdbc.{JdbcCatalog, JdbcClientPool}

/** Iceberg's catalog, with the same few connections for all sessions. Spark makes a catalog for each
  * session and closes none: connections of their own would stay open as long as the server runs. */
class SharedCatalog extends JdbcCatalog(null, SharedCatalog.pool, true)

private object SharedCatalog {
  private val pools = new ConcurrentHashMap[String, JdbcClientPool]

  val pool: JFunction[JMap[String, String], JdbcClientPool] = properties =>
    pools.computeIfAbsent(properties.get(URI), uri => new JdbcClientPool(uri, properties) {
      override def close(): Unit = () // of one session
    })
}
