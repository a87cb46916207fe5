{#-
    Where tables and views are. Iceberg's Glue catalog has no views. There the schema of the profile names
    another catalog, as `spark_catalog.churn` does: views are made in it, tables in the default one.
-#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- set schema = default__generate_schema_name(custom_schema_name, node) -%}
    {{ schema if is_view(node) else schema.split('.') | last }}
{%- endmacro %}


{#- Beginning of the names of schemas with tables in them. -#}
{% macro tables_schema() %}{{ return(target.schema.split('.') | last) }}{% endmacro %}


{% macro marts_schema() %}{{ return(tables_schema() ~ '_marts') }}{% endmacro %}


{% macro published_schema() %}{{ return(target.schema ~ '_published') }}{% endmacro %}


{% macro audit_schema() %}{{ return(tables_schema() ~ '_audit') }}{% endmacro %}


{#- The first statement of a build. -#}
{% macro spark__list_schemas(database) %}
    {%- do open_warehouse() -%}
    {{ return(dbt.spark__list_schemas(database)) }}
{% endmacro %}


{#- dbt lists what a schema has, to know what to replace and what to drop. Of another catalog it would
    take the name of the schema alone: on Glue both have the same, and a table would be taken for another
    kind and dropped before it is made anew. A view needs no look, as it is always replaced. It is the first
    statement of a command that makes no schemas, such as `dbt compile`. -#}
{% macro spark__list_relations_without_caching(relation) %}
    {%- if flags.WHICH not in ['build', 'run', 'seed'] %}{% do open_warehouse() %}{% endif -%}
    {{ return([] if '.' in relation.schema else dbt.spark__list_relations_without_caching(relation)) }}
{% endmacro %}
