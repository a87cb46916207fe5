// The server's own part of its JVM, compiled by server/jar.py. It is in a package of Spark's Thrift
// server, whose parts are private to their package.
package org.apache.spark.sql.hive.thriftserver.churn

import java.io.File

import scala.jdk.CollectionConverters._
import scala.util.Try
import scala.util.control.NonFatal

import org.apache.hadoop.fs.Path
import org.apache.hadoop.hive.conf.HiveConf
import org.apache.hadoop.hive.conf.HiveConf.ConfVars.HIVE_SERVER2_SSL_KEYSTORE_PASSWORD
import org.apache.hive.service.cli.{CLIService, HiveSQLException}
import org.apache.hive.service.cli.thrift.ThriftBinaryCLIService
import org.apache.hive.service.rpc.thrift.{TOpenSessionReq, TOpenSessionResp}
import org.apache.hive.service.server.HiveServer2
import org.apache.spark.sql.SparkSession
import org.apache.spark.sql.catalyst.TableIdentifier
import org.apache.spark.sql.catalyst.catalog.{CatalogDatabase, CatalogStorageFormat, CatalogTable, CatalogTableType}
import org.apache.spark.sql.connector.catalog.{Identifier, SupportsNamespaces, ViewCatalog}
import org.apache.spark.sql.hive.HiveUtils
import org.apache.spark.sql.hive.thriftserver._
import org.apache.spark.sql.hive.thriftserver.ui.HiveThriftServer2EventManager

/** Starts Thrift (Connect is a plugin of Spark), then keeps the list of published views up to date.
  *
  * Arguments: the file whose change says that a build may have published, and `read-only` or `writable`.
  */
object Server {
  private val SecondsBetweenLooks = 3

  def main(arguments: Array[String]): Unit = {
    val Array(catalogFile, mode) = arguments
    // The keystore's password comes over standard input and goes to Thrift alone: settings and
    // environment variables can be asked for in SQL.
    val password = Option(scala.io.StdIn.readLine()).filter(_.nonEmpty)
    SparkSQLEnv.init()
    val session = SparkSQLEnv.sparkSession
    try {
      val hive = HiveUtils.newClientForExecution(
        session.sparkContext.conf, session.sessionState.newHadoopConf()).conf
      HiveThriftServer2.eventManager = new HiveThriftServer2EventManager(session.sparkContext)
      password.foreach(hive.setVar(HIVE_SERVER2_SSL_KEYSTORE_PASSWORD, _))
      val server = new Thrift(session, mode == "read-only")
      server.init(hive)
      server.start()
      hive.unset(HIVE_SERVER2_SSL_KEYSTORE_PASSWORD.varname)
    } catch {
      case NonFatal(error) =>
        error.printStackTrace()
        System.exit(1)
    }
    val published = new Published(session.newSession())
    val catalog = new File(catalogFile)
    var seen = -1L
    while (!session.sparkContext.isStopped) {
      val now = catalog.lastModified
      // a build at work changes tables under a reader: then at the next look
      if (now != seen && Try(published.list()).isSuccess) seen = now
      Thread.sleep(SecondsBetweenLooks * 1000L)
    }
  }
}

/** As Spark's HiveThriftServer2, with a door. */
private class Thrift(session: SparkSession, isReadOnly: Boolean) extends HiveServer2 with ReflectedCompositeService {
  override def init(hive: HiveConf): Unit = {
    val cli = new SparkSQLCLIService(this, session)
    val door = if (isReadOnly) new ThriftDoor(cli) else new ThriftBinaryCLIService(cli)
    ReflectionUtils.setSuperField(this, "cliService", cli)
    ReflectionUtils.setSuperField(this, "thriftCLIService", door)
    addService(cli)
    addService(door)
    initCompositeService(hive)
  }
}

/** A session begins without settings of the client but those of `Settings`: the others could be
  * properties of the JVM, such as who checks passwords, or a catalog with the right to commit. */
private class ThriftDoor(cli: CLIService) extends ThriftBinaryCLIService(cli) {
  override def OpenSession(request: TOpenSessionReq): TOpenSessionResp = {
    val asked = Option(request.getConfiguration).map(_.asScala.toMap).getOrElse(Map.empty)
    def setting(key: String) = key.replaceFirst("^set:(hiveconf|hivevar):", "")
    val refused = asked.keys.filter(key => key.contains("spark.") || key.contains("system:"))
      .map(setting).filterNot(Settings.isHarmless)
    if (refused.isEmpty) {
      // drivers send settings of Hive's, which Spark has no use for
      request.setConfiguration(asked.filter { case (key, _) =>
        key == "use:database" || Settings.isHarmless(setting(key))
      }.asJava)
      super.OpenSession(request)
    } else {
      val response = new TOpenSessionResp()
      val why = Refusal.of(s"the setting ${refused.head}")
      response.setStatus(HiveSQLException.toTStatus(new HiveSQLException(why)))
      response
    }
  }
}

/** Lists the published views in Spark's own catalog, the only one that the metadata calls of JDBC and
  * ODBC know. Names, types and comments only: a query goes to the views themselves. */
private class Published(session: SparkSession) {
  private val shown = session.sharedState.externalCatalog

  def list(): Unit = {
    val lake = session.sessionState.catalogManager.catalog("lake")
      .asInstanceOf[SupportsNamespaces with ViewCatalog]
    // Spark makes the folder of a schema where there is none: this one is there
    val folder = new Path(session.conf.get("spark.sql.warehouse.dir")).toUri
    for (Array(schema) <- lake.listNamespaces() if ReadOnly.isPublished(schema)) {
      shown.createDatabase(CatalogDatabase(schema, "", folder, Map.empty), ignoreIfExists = true)
      val views = lake.listViews(schema).toSeq.map(view(lake, _))
      val before = shown.listTables(schema).map(shown.getTable(schema, _))
      def content(view: CatalogTable) = (view.identifier.table, view.schema, view.comment)
      val kept = before.map(content).intersect(views.map(content))
      before.filterNot(old => kept.contains(content(old))).foreach(old =>
        shown.dropTable(schema, old.identifier.table, ignoreIfNotExists = true, purge = false))
      views.filterNot(each => kept.contains(content(each))).foreach(shown.createTable(_, ignoreIfExists = true))
    }
  }

  private def view(lake: ViewCatalog, name: Identifier): CatalogTable = {
    val schema = name.namespace.head
    val view = lake.loadView(name)
    CatalogTable(
      identifier = TableIdentifier(name.name, Some(schema)),
      tableType = CatalogTableType.VIEW,
      storage = CatalogStorageFormat.empty,
      schema = view.schema,
      comment = Option(view.properties.get("comment")),
      viewText = Some(s"select * from lake.`$schema`.`${name.name}`"))
  }
}
