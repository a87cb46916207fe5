-- A view: the events are stored once. Readers get those of the published build.
{{ config(materialized='view') }}

select
    event_date,
    event_at,
    user_id,
    session_id,
    item_in_session,
    page,
    page_category,
    level,
    is_paid,
    artist,
    song,
    song_milliseconds,
    location,
    user_agent,
    auth,
    http_method,
    http_status
from {{ ref('stg_events') }}
