// What a read-only server refuses. Iceberg's catalog is opened without the right to commit; but Spark
// can do more than change tables: write and read any file, run Java, shell and Python, and be given
// another catalog. So what is not known to be a question about the tables is refused, at three doors:
// every plan (`ReadOnly`), what Connect does before there is a plan (`ConnectDoor`), and the settings
// with which a Thrift session begins (`ThriftDoor` in Server.scala).
package org.apache.spark.sql.hive.thriftserver.churn

import java.util.Locale

import scala.jdk.CollectionConverters._

import org.apache.spark.connect.proto.{AddArtifactsRequest, ConfigRequest}
import org.apache.spark.sql.SparkSessionExtensions
import org.apache.spark.sql.catalyst.FunctionIdentifier
import org.apache.spark.sql.catalyst.analysis.{FunctionRegistry, LocalTempView, ResolvedNamespace, UnresolvedRelation}
import org.apache.spark.sql.catalyst.expressions.{ApplyFunctionExpression, UserDefinedExpression}
import org.apache.spark.sql.catalyst.plans.logical._
import org.apache.spark.sql.catalyst.plans.logical.views.ShowIcebergViews
import org.apache.spark.sql.catalyst.rules.Rule
import org.apache.spark.sql.execution.command.{CreateViewCommand, SetCommand}
import org.sparkproject.connect.grpc._
import org.sparkproject.connect.grpc.ForwardingServerCallListener.SimpleForwardingServerCallListener
import org.sparkproject.connect.protobuf.Message

object Refusal {
  def of(what: String): String =
    s"Refused: $what. This server only answers questions about its tables, and neither reads nor writes " +
      "anything else; for that, use a Spark of your own, or a server started with --writable."
}

/** Settings of how a session computes and shows. No other one can be changed. */
object Settings {
  private val harmless = Set(
    "spark.sql.session.timeZone", "spark.sql.ansi.enabled", "spark.sql.caseSensitive",
    "spark.sql.shuffle.partitions", "spark.sql.autoBroadcastJoinThreshold", "spark.sql.mapKeyDedupPolicy",
    "spark.sql.thriftserver.scheduler.pool", "spark.sql.thriftServer.queryTimeout")
  private val families = Seq("spark.sql.adaptive.", "spark.sql.execution.arrow.", "spark.sql.repl.")

  def isHarmless(key: String): Boolean = harmless(key) || families.exists(key.startsWith)
}

/** An extension of Spark's (`spark.sql.extensions`). */
class ReadOnly extends (SparkSessionExtensions => Unit) {
  override def apply(extensions: SparkSessionExtensions): Unit = {
    // A procedure runs while its call is analyzed, before any check: so at the first rules of all. A
    // path is no table (spark.sql.runSQLOnFiles is off), and Spark would say no more than that.
    extensions.injectHintResolutionRule(_ => rule { plan =>
      plan.foreachWithSubqueries {
        case call: Call => ReadOnly.refuse("call")
        case UnresolvedRelation(Seq(_, path), _, _) if path.contains("/") => ReadOnly.refuse(s"to read $path")
        case _ =>
      }
      plan
    })
    // Iceberg lists views apart from tables, and to readers the published views are the tables.
    extensions.injectPostHocResolutionRule(_ => rule {
      case ShowTables(schema: ResolvedNamespace, pattern, output)
          if schema.namespace.lastOption.exists(ReadOnly.isPublished) && schema.catalog.name == "lake" =>
        ShowIcebergViews(schema, pattern, output)
      case plan => plan
    })
    extensions.injectCheckRule(_ => ReadOnly.check)
    // A function of constants may be computed before the check: these are never made. The options of
    // those of XML can name a file.
    for ((name, most) <- Seq("java_method" -> -1, "reflect" -> -1, "try_reflect" -> -1, "from_xml" -> 2,
        "schema_of_xml" -> 1)) {
      val function = FunctionIdentifier(name)
      val make = FunctionRegistry.builtin.lookupFunctionBuilder(function).get
      val about = FunctionRegistry.builtin.lookupFunction(function).get
      extensions.injectFunction((function, about, arguments =>
        if (arguments.size <= most) make(arguments)
        else ReadOnly.refuse(s"the function $name" + (if (most > 0) " with options" else ""))))
    }
  }

  private def rule(change: LogicalPlan => LogicalPlan): Rule[LogicalPlan] = new Rule[LogicalPlan] {
    override def apply(plan: LogicalPlan): LogicalPlan = change(plan)
  }
}

object ReadOnly {
  // of a session only; EXPLAIN and the rest analyze, and so check, what they are given
  private val commands = Set("ExplainCommand", "SetCatalogAndNamespace", "SetCatalogCommand",
    "SetNamespaceCommand", "ResetCommand", "DropTempViewCommand", "NoopCommand", "RefreshTable",
    "RefreshTableCommand", "CreateVariable", "SetVariable", "DropVariable")
  private val nodes = Set("Aggregate", "AsOfJoin", "CTERelationDef", "CTERelationRef", "CollectMetrics",
    "CommandResult", "DataSourceV2Relation", "Deduplicate", "DeserializeToObject", "Distinct", "EmptyRelation",
    "Except", "Expand", "Filter", "Generate", "GlobalLimit", "Intersect", "Join", "LateralJoin", "LocalLimit", "LocalRelation",
    "Offset", "OneRowRelation", "Pivot", "Project", "Range", "RebalancePartitions", "Repartition",
    "RepartitionByExpression", "ResolvedHint", "Sample", "Sort", "Subquery", "SubqueryAlias", "Tail",
    "Transpose", "Union", "UnionLoop", "UnionLoopRef", "Unpivot", "View", "Window", "WithCTE")

  def isPublished(schema: String): Boolean = schema.endsWith("_published")

  def refuse(what: String): Nothing = throw new SecurityException(Refusal.of(what))

  private def words(nameOfClass: String): String =
    nameOfClass.stripSuffix("Command").replaceAll("([a-z])([A-Z])", "$1 $2").toLowerCase(Locale.ROOT)

  def check(plan: LogicalPlan): Unit = plan.foreachWithSubqueries { node =>
    val name = node.getClass.getSimpleName.stripSuffix("$")
    val isAllowed = node match {
      case SetCommand(Some((key, Some(_)))) => Settings.isHarmless(key) || refuse(s"the setting $key")
      case view: CreateViewCommand => view.viewType == LocalTempView
      case _: SetCommand => true
      case _: Command => commands(name) || name.matches("(Show|Describe).*")
      // what a command is about
      case _ if name.startsWith("Resolved") => true
      case _ => nodes(name)
    }
    if (!isAllowed) refuse(words(name))
    node.expressions.foreach(_.foreach {
      case _: ApplyFunctionExpression => // of a catalog: Iceberg's
      case function: UserDefinedExpression => refuse(s"the function ${function.name}")
      case _ =>
    })
  }
}

/** Lets calls of Connect pass that consist of what is listed here, by the names of the protocol: it
  * would run code and read files while it makes a plan. New parts of the protocol are refused. */
class ConnectDoor extends ServerInterceptor {
  private val passes: Map[String, String] = Map(
    // a compressed plan cannot be looked into, and clients are told to send none
    "Plan" -> "root command",
    "Command" -> "sql_command create_dataframe_view get_resources_command remove_cached_remote_relation_command",
    "Relation" -> ("common read project filter join set_op sort limit aggregate sql local_relation sample offset " +
      "deduplicate range subquery_alias repartition to_df with_columns_renamed show_string drop tail " +
      "with_columns hint unpivot to_schema repartition_by_expression collect_metrics html_string " +
      "cached_local_relation chunked_cached_local_relation as_of_join with_relations transpose " +
      "unresolved_table_valued_function lateral_join fill_na drop_na replace summary crosstab describe cov corr " +
      "approx_quantile freq_items sample_by catalog"),
    "Read" -> "named_table",
    "Expression" -> ("common literal unresolved_attribute unresolved_function expression_string unresolved_star " +
      "alias cast unresolved_regex sort_order lambda_function window unresolved_extract_value update_fields " +
      "unresolved_named_lambda_variable call_function named_argument_expression subquery_expression"),
    "Catalog" -> ("current_database set_current_database list_databases list_tables list_functions list_columns " +
      "get_database get_table get_function database_exists table_exists function_exists drop_temp_view " +
      "is_cached refresh_table current_catalog set_current_catalog list_catalogs"),
    "AnalyzePlanRequest" -> ("session_id client_observed_server_side_session_id user_context client_type schema " +
      "explain tree_string is_local is_streaming spark_version ddl_parse same_semantics semantic_hash json_to_ddl"))
  private val allowed = passes.map { case (name, fields) => s"spark.connect.$name" -> fields.split(" ").toSet }

  override def interceptCall[Q, R](
      call: ServerCall[Q, R], headers: Metadata, next: ServerCallHandler[Q, R]): ServerCall.Listener[Q] =
    new SimpleForwardingServerCallListener[Q](next.startCall(call, headers)) {
      private var isOpen = true
      override def onMessage(message: Q): Unit = if (isOpen) refused(message.asInstanceOf[Message]) match {
        case None => super.onMessage(message)
        case Some(what) =>
          isOpen = false
          call.close(Status.PERMISSION_DENIED.withDescription(Refusal.of(what)), new Metadata())
      }
      override def onHalfClose(): Unit = if (isOpen) super.onHalfClose()
    }

  private def refused(message: Message): Option[String] = {
    val fields = message.getAllFields.asScala.toSeq
    val here = message match {
      case set: ConfigRequest.Set => setting(set.getPairsList.asScala.map(_.getKey))
      case unset: ConfigRequest.Unset => setting(unset.getKeysList.asScala)
      case file: AddArtifactsRequest.SingleChunkArtifact => artifact(file.getName)
      case file: AddArtifactsRequest.BeginChunkedArtifact => artifact(file.getName)
      case _ =>
        allowed.get(message.getDescriptorForType.getFullName)
          .flatMap(names => fields.map(_._1.getName).find(!names(_))).map(_.replace('_', ' '))
    }
    here.orElse(fields.iterator.flatMap {
      case (_, part: Message) => refused(part)
      case (_, parts: java.util.List[_]) => parts.asScala.iterator.collect { case part: Message => part }.flatMap(refused(_))
      case _ => None
    }.nextOption())
  }

  private def setting(keys: Iterable[String]) =
    keys.find(!Settings.isHarmless(_)).map(key => s"the setting $key")

  // rows of the client's own, and no code
  private def artifact(name: String) =
    Some(s"the file $name").filterNot(_ => name.matches("cache/[0-9a-f]+"))
}
