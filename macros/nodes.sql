{#- What there is in the project, and what it is called in the warehouse. -#}

{% macro mart_nodes() %}
    {% set nodes = [] %}
    {% for node in graph.nodes.values() | sort(attribute='alias') if is_mart(node) %}{% do nodes.append(node) %}{% endfor %}
    {{ return(nodes) }}
{% endmacro %}


{% macro is_mart(node) %}
    {{ return(node.resource_type == 'model' and node.schema.split('.')[-1] == marts_schema()) }}
{% endmacro %}


{% macro is_view(node) %}{{ return(node.config.materialized == 'view') }}{% endmacro %}


{% macro table_nodes() %}
    {{ return(
        graph.nodes.values() | selectattr('resource_type', 'equalto', 'model')
        | rejectattr('config.materialized', 'in', ['view', 'ephemeral']) | sort(attribute='alias') | list
    ) }}
{% endmacro %}


{% macro seed_nodes() %}
    {{ return(graph.nodes.values() | selectattr('resource_type', 'equalto', 'seed') | list) }}
{% endmacro %}


{% macro ml_sources() %}
    {{ return(graph.sources.values() | selectattr('source_name', 'equalto', 'ml') | list) }}
{% endmacro %}


{#- What of a model follows from a changed date (changes.sql); none where it is made as a whole. -#}
{% macro updated_by(node) %}{{ return((node.config.meta or {}).get('updated_by')) }}{% endmacro %}


{% macro model_id(name) %}{{ return('model.' ~ project_name ~ '.' ~ name) }}{% endmacro %}


{#- Of a model, or of a source. -#}
{% macro table_name(node) %}{{ return(node.schema ~ '.' ~ (node.alias or node.identifier)) }}{% endmacro %}


{% macro relation_exists(node) %}
    {{ return(load_relation(
        api.Relation.create(schema=node.schema, identifier=node.alias or node.identifier)
    ) is not none) }}
{% endmacro %}
