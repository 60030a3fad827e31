"""The adapter pjsip: SIP PUBLISH to and from res_pjsip_publish_asterisk."""
